"""Callers outside and the real services, through the gateway: gRPC from Python, gRPC-web from
Node.js."""

from __future__ import annotations

import json
import subprocess
import unittest
import uuid
from typing import Any

import grpc
from plazo.common.v1 import common_pb2 as common
from plazo.history.v1 import history_service_pb2 as history
from plazo.history.v1 import history_service_pb2_grpc
from plazo.notification.v1 import notification_service_pb2 as notification
from plazo.notification.v1 import notification_service_pb2_grpc
from plazo.ticketing.v1 import (
    contact_pb2,
    contact_pb2_grpc,
    settings_pb2_grpc,
    ticket_pb2,
    ticket_service_pb2,
    ticket_service_pb2_grpc,
)
from plazo.ticketing.v1 import settings_pb2 as settings
from plazo.timer.v1 import timer_service_pb2 as timer
from plazo.timer.v1 import timer_service_pb2_grpc

from gateway import Files, Gateway
from plazo_client import refusal
from repository import ROOT, SERVICES, descriptor_set, tool
from secured import SecuredServices
from tokens import Issuer, bearer

CALL_TIMEOUT_S = 10.0
WEB_TIMEOUT_S = 60.0
ORIGIN = "https://desk.plazo.example"


class ServicesTest(unittest.TestCase):
    """One cluster behind one Envoy, both as they are shipped."""

    tenants = 0

    @classmethod
    def setUpClass(cls) -> None:
        cls.files = Files()
        cls.addClassCleanup(cls.files.remove)
        cls.issuer = Issuer()
        cls.files.write_keys(cls.issuer)
        cls.services = SecuredServices(cls.files)
        cls.addClassCleanup(cls.services.stop)
        cls.services.start()
        cls.gateway = Gateway(cls.files, {name: [cls.services.endpoint(name)] for name in SERVICES})
        cls.gateway.start()
        cls.addClassCleanup(cls.gateway.stop)
        cls.gateway.wait_for_backends()

    def setUp(self) -> None:
        ServicesTest.tenants += 1
        self.tenant = ServicesTest.tenants
        self.channel = self.gateway.channel()
        self.addCleanup(self.channel.close)

    def signed(self, **claims: Any) -> dict[str, Any]:
        """The arguments of a call by an administrator of this test's tenant."""
        token = self.issuer.token(plazo_tenant=self.tenant, **claims)
        return {"metadata": bearer(token), "timeout": CALL_TIMEOUT_S}

    def test_a_conversation(self) -> None:
        """An agent writes, and sees the alert come while he watches."""
        bots = settings_pb2_grpc.SettingsServiceStub(self.channel)
        tickets = ticket_service_pb2_grpc.TicketServiceStub(self.channel)
        contacts = contact_pb2_grpc.ContactServiceStub(self.channel)
        bot = bots.CreateBot(
            settings.CreateBotRequest(bot=settings.Bot(name="Suporte")), **self.signed()
        ).bot
        second = common.TimeValue(value=1, unit=common.TIME_UNIT_SECOND)
        minute = common.TimeValue(value=1, unit=common.TIME_UNIT_MINUTE)
        bots.SetInactivityPolicy(
            settings.SetInactivityPolicyRequest(
                bot_id=bot.bot_id,
                policy=settings.InactivityPolicy(
                    alerts=settings.AlertSettings(first_alert=second, second_alert=minute)
                ),
            ),
            **self.signed(),
        )
        agent = bots.CreateAgent(
            settings.CreateAgentRequest(agent=settings.Agent(name="Ana", bot_ids=[bot.bot_id])),
            **self.signed(),
        ).agent
        contact = contacts.CreateContact(
            contact_pb2.CreateContactRequest(
                contact=contact_pb2.Contact(
                    name="João Pereira",
                    channel_identity=common.ChannelIdentity(
                        channel=common.CHANNEL_LOG, address=str(uuid.uuid4())
                    ),
                )
            ),
            **self.signed(),
        ).contact
        ticket = tickets.OpenTicket(
            ticket_service_pb2.OpenTicketRequest(
                bot_id=bot.bot_id, contact_id=contact.contact_id, agent_id=agent.agent_id
            ),
            **self.signed(),
        ).ticket
        as_agent = self.signed(
            plazo_actor=f"agent/{agent.agent_id}",
            plazo_permissions=["tickets:attend"],
            plazo_bots=[bot.bot_id],
        )
        watch = tickets.WatchTickets(
            ticket_service_pb2.WatchTicketsRequest(
                filter=ticket_service_pb2.TicketFilter(bot_id=bot.bot_id)
            ),
            metadata=as_agent["metadata"],
            timeout=60,
        )
        self.addCleanup(watch.cancel)
        tickets.RecordMessage(
            ticket_service_pb2.RecordMessageRequest(
                ticket_id=ticket.ticket_id, text="Olá", request_id=str(uuid.uuid4())
            ),
            **as_agent,
        )
        alerts = (
            update.ticket.alert
            for update in watch
            if update.HasField("ticket") and update.ticket.alert != ticket_pb2.ALERT_UNSPECIFIED
        )
        self.assertEqual(next(alerts), ticket_pb2.ALERT_YELLOW)

    def test_all_four_answer(self) -> None:
        permissions = ["helpdesk:view", "history:view", "messages:send", "tickets:attend"]
        signed = self.signed(plazo_permissions=permissions)
        settings_pb2_grpc.SettingsServiceStub(self.channel).ListBots(
            settings.ListBotsRequest(), **signed
        )
        timer_service_pb2_grpc.TimerServiceStub(self.channel).ListDueEntries(
            timer.ListDueEntriesRequest(), **signed
        )
        notification_service_pb2_grpc.NotificationServiceStub(self.channel).ListActiveMessages(
            notification.ListActiveMessagesRequest(), **signed
        )
        history_service_pb2_grpc.HistoryServiceStub(self.channel).ListClosedTickets(
            history.ListClosedTicketsRequest(), **signed
        )

    def test_refusals_of_services_come_whole(self) -> None:
        stub = settings_pb2_grpc.SettingsServiceStub(self.channel)
        with self.assertRaises(grpc.RpcError) as caught:
            stub.GetBot(settings.GetBotRequest(bot_id=987_654_321), **self.signed())
        refused = refusal(caught.exception)
        self.assertEqual(refused.code, grpc.StatusCode.NOT_FOUND)
        self.assertTrue(refused.reason)

    def test_too_little_right_is_refused_whatever_metadata_says(self) -> None:
        stub = settings_pb2_grpc.SettingsServiceStub(self.channel)
        signed = self.signed(plazo_permissions=["helpdesk:view"])
        claimed = (("plazo-permissions", "helpdesk:edit"), ("plazo-actor", "administrator/1"))
        signed["metadata"] = (*signed["metadata"], *claimed)
        with self.assertRaises(grpc.RpcError) as caught:
            stub.CreateBot(settings.CreateBotRequest(bot=settings.Bot(name="Suporte")), **signed)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.PERMISSION_DENIED)

    def test_services_do_not_rely_on_the_gateway(self) -> None:
        """A token that only the gateway would take is refused by the service, and so is a caller
        who comes past the gateway."""
        address = self.services.addresses.ticketing
        authority = self.files.public_authority()
        credentials = grpc.ssl_channel_credentials(authority)
        options = (("grpc.ssl_target_name_override", "ticketing"),)
        with grpc.secure_channel(address, credentials, options=options) as channel:
            stub = settings_pb2_grpc.SettingsServiceStub(channel)
            with self.assertRaises(grpc.RpcError) as caught:
                stub.ListBots(settings.ListBotsRequest(), **self.signed())
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        folder = self.files.certificates / "gateway"
        credentials = grpc.ssl_channel_credentials(
            authority, (folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes()
        )
        with grpc.secure_channel(address, credentials, options=options) as channel:
            stub = settings_pb2_grpc.SettingsServiceStub(channel)
            stub.ListBots(settings.ListBotsRequest(), **self.signed())
            stranger = Issuer(self.issuer.key_id).token(plazo_tenant=self.tenant)
            for metadata in (bearer(stranger), ()):
                with self.assertRaises(grpc.RpcError) as caught:
                    stub.ListBots(
                        settings.ListBotsRequest(), metadata=metadata, timeout=CALL_TIMEOUT_S
                    )
                self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)

    def test_web_pages(self) -> None:
        arguments = {
            "url": f"https://localhost:{self.gateway.port}",
            "descriptors": str(descriptor_set()),
            "token": self.issuer.token(plazo_tenant=self.tenant),
            "origin": ORIGIN,
        }
        outcome = subprocess.run(
            [tool("node"), ROOT / "tests/deploy/web/client.mjs", json.dumps(arguments)],
            env={
                "PATH": "/usr/bin:/bin",
                "PLAZO_WEB_PACKAGES": str(ROOT / "target/tools/web"),
                "NODE_EXTRA_CA_CERTS": str(self.files.certificates / "public/ca.crt"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=WEB_TIMEOUT_S,
        )
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        results = json.loads(outcome.stdout)
        self.assertEqual(results["created"]["code"], "OK", results)
        self.assertEqual(results["listed"], {"code": "OK", "value": ["Suporte"]})
        self.assertEqual(results["missing"]["code"], "NotFound")
        self.assertGreater(results["missing"]["details"], 0)
        self.assertEqual(results["watched"]["value"], ["snapshotBegin", "snapshotEnd"])
        self.assertEqual(results["tokenless"]["code"], "Unauthenticated")
        self.assertEqual(results["internal"]["code"], "Unimplemented")
        known, unknown = (
            results["preflight"][ORIGIN],
            results["preflight"]["https://elsewhere.example"],
        )
        self.assertEqual(known, {"status": 200, "origin": ORIGIN})
        self.assertIsNone(unknown["origin"])


if __name__ == "__main__":
    unittest.main()
