"""A first conversation with Plazo, with nothing but the generated code of the protos.

Usage: python first_call.py [ADDRESS]       (default 127.0.0.1:5001)
"""

import sys
import time
import uuid

import grpc
from plazo.common.v1 import common_pb2 as common
from plazo.ticketing.v1 import (
    contact_pb2,
    contact_pb2_grpc,
    settings_pb2,
    settings_pb2_grpc,
    ticket_pb2,
    ticket_service_pb2,
    ticket_service_pb2_grpc,
)

ADMINISTRATOR = [
    ("plazo-tenant", "1"),
    ("plazo-actor", "administrator/1"),
    ("plazo-permissions", "helpdesk:view,helpdesk:edit,builder:edit,tickets:attend"),
]


def seconds(value: int) -> common.TimeValue:
    return common.TimeValue(value=value, unit=common.TIME_UNIT_SECOND)


def main(address: str) -> None:
    channel = grpc.insecure_channel(address)
    settings = settings_pb2_grpc.SettingsServiceStub(channel)
    contacts = contact_pb2_grpc.ContactServiceStub(channel)
    tickets = ticket_service_pb2_grpc.TicketServiceStub(channel)

    bot_id = settings.CreateBot(
        settings_pb2.CreateBotRequest(bot=settings_pb2.Bot(name="Suporte")), metadata=ADMINISTRATOR
    ).bot.bot_id
    settings.SetExitRoute(
        settings_pb2.SetExitRouteRequest(bot_id=bot_id, exit_route="despedida"),
        metadata=ADMINISTRATOR,
    )
    policy = settings_pb2.InactivityPolicy(
        alerts=settings_pb2.AlertSettings(first_alert=seconds(1), second_alert=seconds(2)),
        warning=settings_pb2.WarningSettings(
            warn_after=seconds(3),
            text="{{contact_name}}, ainda está aí? Encerramos em {{time_left}}.",
        ),
        auto_close=settings_pb2.AutoCloseSettings(close_after=seconds(4)),
    )
    settings.SetInactivityPolicy(
        settings_pb2.SetInactivityPolicyRequest(bot_id=bot_id, policy=policy),
        metadata=ADMINISTRATOR,
    )
    agent_id = settings.CreateAgent(
        settings_pb2.CreateAgentRequest(agent=settings_pb2.Agent(name="Ana", bot_ids=[bot_id])),
        metadata=ADMINISTRATOR,
    ).agent.agent_id
    contact_id = contacts.CreateContact(
        contact_pb2.CreateContactRequest(
            contact=contact_pb2.Contact(
                name="João Pereira",
                channel_identity=common.ChannelIdentity(
                    channel=common.CHANNEL_LOG, address=str(uuid.uuid4())
                ),
            )
        ),
        metadata=ADMINISTRATOR,
    ).contact.contact_id

    ticket_id = tickets.OpenTicket(
        ticket_service_pb2.OpenTicketRequest(
            bot_id=bot_id, contact_id=contact_id, agent_id=agent_id
        ),
        metadata=ADMINISTRATOR,
    ).ticket.ticket_id
    agent = [
        ("plazo-tenant", "1"),
        ("plazo-actor", f"agent/{agent_id}"),
        ("plazo-permissions", "tickets:attend"),
        ("plazo-bots", str(bot_id)),
    ]
    watch = tickets.WatchTickets(
        ticket_service_pb2.WatchTicketsRequest(
            filter=ticket_service_pb2.TicketFilter(bot_id=bot_id)
        ),
        metadata=agent,
        timeout=30,
    )
    tickets.RecordMessage(
        ticket_service_pb2.RecordMessageRequest(
            ticket_id=ticket_id,
            text="Oi, João! Seu pedido saiu para entrega.",
            request_id=str(uuid.uuid4()),
        ),
        metadata=agent,
    )

    started = time.monotonic()
    shown = None
    for update in watch:
        kind = update.WhichOneof("update")
        if kind == "left_ticket_id":
            print(f"{time.monotonic() - started:5.2f} s  ticket {ticket_id} was closed")
            return
        if kind == "ticket" and update.ticket.alert != shown:
            shown = update.ticket.alert
            name = ticket_pb2.Alert.Name(shown) if shown else "no alert"
            print(f"{time.monotonic() - started:5.2f} s  ticket {ticket_id} shows {name}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:5001")
