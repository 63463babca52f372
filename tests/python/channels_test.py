"""A conversation by WhatsApp through the whole cluster, and a subscriber who hears of it.

Plazo talks to a stand-in for the WhatsApp Cloud API and to an endpoint of a subscriber, both in this
process. The endpoint checks each call by a library of Standard Webhooks that knows nothing of Plazo.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
import unittest
import urllib.request
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from plazo.common.v1 import common_pb2 as common
from plazo.history.v1 import history_service_pb2 as history
from plazo.history.v1 import outreach_service_pb2 as outreach
from plazo.history.v1 import outreach_service_pb2_grpc
from plazo.history.v1 import settings_service_pb2 as history_settings
from plazo.notification.v1 import active_message_pb2 as active_message
from plazo.notification.v1 import notification_service_pb2 as notification
from plazo.notification.v1 import notification_service_pb2_grpc, webhook_subscription_pb2_grpc
from plazo.notification.v1 import webhook_subscription_pb2 as subscriptions
from plazo.ticketing.v1 import settings_pb2 as settings
from plazo.ticketing.v1 import ticket_pb2 as ticket
from plazo.ticketing.v1 import ticket_service_pb2 as ticket_service
from standardwebhooks import Webhook

from cluster import Cluster
from conversation import ADMINISTRATOR_PERMISSIONS, CLOSING_TEXT
from plazo_client import Actor, Client

TENANT_ID = 31
APP_SECRET = "hush-hush"
ACCESS_TOKEN = "let-me-in"
NUMBER = "106540352242922"
CUSTOMER = "5511987654321"
TIMEOUT_S = 15.0
WARN_AFTER_S, CLOSE_AFTER_S = 2, 7


class Listener:
    """An HTTP server that keeps the calls that it gets, and answers 200 with what `answer` makes of
    them."""

    def __init__(self, answer: Callable[[dict[str, str], bytes], Any]) -> None:
        self.calls: list[tuple[dict[str, str], bytes]] = []
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            # As the base class wants it to be called.
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    answer_body = json.dumps(answer(headers, body)).encode()
                except ValueError as error:
                    self.send_error(400, str(error))
                    return
                calls.append((headers, body))
                self.send_response(200)
                self.send_header("content-length", str(len(answer_body)))
                self.end_headers()
                self.wfile.write(answer_body)

            def log_message(self, *_: Any) -> None:
                """Says nothing: the test's output is for failures."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


class WhatsApp(Listener):
    """The provider: takes messages for the number by its token, and each of them once."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        super().__init__(self._take)

    def _take(self, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        if headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
            raise ValueError("not the token")
        message = json.loads(body)
        ours = message["biz_opaque_callback_data"]
        if any(one["biz_opaque_callback_data"] == ours for one in self.sent):
            raise ValueError(f"{ours} was sent before")
        self.sent.append(message)
        return {"messages": [{"id": f"wamid.{ours}"}]}

    def texts(self) -> list[str]:
        """What the customer got."""
        return [message["text"]["body"] for message in self.sent]


class Subscriber(Listener):
    """A system of the tenant's that wants to hear of tickets."""

    def __init__(self) -> None:
        self.secret = ""
        self.events: list[dict[str, Any]] = []
        super().__init__(self._hear)

    def _hear(self, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        # Raises when the signature or the time isn't right; its errors are no ValueErrors, so
        # that the call then breaks and shows.
        event = Webhook(self.secret).verify(body, headers)
        self.events.append(event)
        return {}

    def types(self) -> list[str]:
        """The types of what was heard, in order."""
        return [event["type"] for event in self.events]


def eventually(what: str, condition: Callable[[], Any]) -> Any:
    """Waits until the condition holds, and returns what it gave."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while not (value := condition()):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"waited too long for {what}")
        time.sleep(0.05)
    return value


class ChannelsTest(unittest.TestCase):
    """All of it is one conversation."""

    def setUp(self) -> None:
        self.whatsapp, self.subscriber = WhatsApp(), Subscriber()
        self.addCleanup(self.whatsapp.stop)
        self.addCleanup(self.subscriber.stop)
        cluster = Cluster()
        self.addCleanup(cluster.stop)
        secrets = cluster.folder / "secrets" / str(TENANT_ID)
        secrets.mkdir(parents=True)
        values = {"access_token": ACCESS_TOKEN, "app_secret": APP_SECRET, "verify_token": "x"}
        (secrets / "number").write_text(json.dumps(values))
        # Beside the ports of services and metrics.
        callbacks = f"127.0.0.1:{cluster.base_port + 5}"
        self.callbacks_url = f"http://{callbacks}/callbacks/whatsapp/{TENANT_ID}"
        cluster.start(
            {
                "PLAZO_NOTIFICATION__CALLBACKS__LISTEN": callbacks,
                "PLAZO_NOTIFICATION__CREDENTIALS__FOLDER": str(secrets.parent),
                "PLAZO_NOTIFICATION__WHATSAPP__BASE_URL": self.whatsapp.url,
                # One in six seconds to each recipient would make the test longer.
                "PLAZO_NOTIFICATION__WHATSAPP__RECIPIENT_INTERVAL_MS": "1",
            }
        )
        administrator = Actor(TENANT_ID, "administrator", 1, ADMINISTRATOR_PERMISSIONS)
        self.client = Client(cluster.addresses, administrator)
        self.addCleanup(self.client.close)
        self.account_id = self.create_account()
        self.bot_id, agent_id = self.create_bot()
        self.subscribe()
        attend = Actor(TENANT_ID, "agent", agent_id, ("tickets:attend",), (self.bot_id,))
        self.agent, self.agent_id = self.client.acting_as(attend), agent_id

    def create_account(self) -> int:
        """The number by which the desk writes."""
        account = notification.ChannelAccount(
            name="number",
            channel=common.CHANNEL_WHATSAPP,
            whatsapp=notification.WhatsAppSettings(phone_number_id=NUMBER),
            credential_name="number",
        )
        request = notification.CreateChannelAccountRequest(account=account)
        stub = notification_service_pb2_grpc.ChannelAccountServiceStub
        accounts = stub(self.client.notification_channel)
        return accounts.CreateChannelAccount(request).account.channel_account_id

    def create_bot(self) -> tuple[int, int]:
        """A bot of the number, which opens tickets for whoever writes, and its agent."""
        bot = settings.Bot(
            name="Desk", channel_account_id=self.account_id, open_ticket_on_inbound=True
        )
        calls = self.client.settings
        bot_id = calls.CreateBot(settings.CreateBotRequest(bot=bot)).bot.bot_id
        calls.SetExitRoute(settings.SetExitRouteRequest(bot_id=bot_id, exit_route="silence"))

        def after(seconds: int) -> common.TimeValue:
            return common.TimeValue(value=seconds, unit=common.TIME_UNIT_SECOND)

        policy = settings.InactivityPolicy(
            alerts=settings.AlertSettings(first_alert=after(1), second_alert=after(6)),
            warning=settings.WarningSettings(
                warn_after=after(WARN_AFTER_S), text="{{contact_name}}?"
            ),
            auto_close=settings.AutoCloseSettings(
                close_after=after(CLOSE_AFTER_S), closing_text=CLOSING_TEXT
            ),
        )
        calls.SetInactivityPolicy(settings.SetInactivityPolicyRequest(bot_id=bot_id, policy=policy))
        agent = settings.Agent(name="Bruno", bot_ids=[bot_id])
        request = settings.CreateAgentRequest(agent=agent)
        return bot_id, calls.CreateAgent(request).agent.agent_id

    def subscribe(self) -> None:
        """The subscriber hears of everything, with what customers write."""
        subscription = subscriptions.WebhookSubscription(
            name="ours", url=f"{self.subscriber.url}/hook", include_customer_data=True
        )
        request = subscriptions.CreateWebhookSubscriptionRequest(subscription=subscription)
        stub = webhook_subscription_pb2_grpc.WebhookSubscriptionServiceStub
        answer = stub(self.client.notification_channel).CreateWebhookSubscription(request)
        self.subscriber.secret = answer.signing_secret

    def call_back(self, value: dict[str, Any]) -> None:
        """The provider calls back, with a signature of the raw body."""
        value = {"metadata": {"phone_number_id": NUMBER}, **value}
        change = {"field": "messages", "value": value}
        entry = {"id": "1", "changes": [change]}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
        digest = hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(
            f"{self.callbacks_url}/{self.account_id}",
            data=body,
            headers={"x-hub-signature-256": f"sha256={digest}"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            self.assertEqual(answer.status, 200)

    def customer_writes(self, wamid: str, text: str) -> None:
        """The customer writes, and the provider tells it twice."""
        message = {
            "from": CUSTOMER,
            "id": wamid,
            "timestamp": str(int(time.time())),
            "type": "text",
            "text": {"body": text},
        }
        profile = {"wa_id": CUSTOMER, "profile": {"name": "Ana"}}
        for _ in range(2):
            self.call_back({"contacts": [profile], "messages": [message]})

    def agent_writes(self, ticket_id: int) -> None:
        """The agent writes, so that the customer's clock starts."""
        request = ticket_service.RecordMessageRequest(ticket_id=ticket_id, text="Pois não?")
        self.agent.tickets.RecordMessage(request)

    def read(self, ticket_id: int) -> ticket.Ticket:
        """The ticket as it is now."""
        request = ticket_service.GetTicketRequest(ticket_id=ticket_id)
        return self.client.tickets.GetTicket(request).ticket

    def messages(self, ticket_id: int) -> list[notification.AcceptedMessage]:
        """The active messages of the ticket, the last one first."""
        request = notification.ListActiveMessagesRequest(ticket_id=ticket_id)
        return list(self.client.notification.ListActiveMessages(request).messages)

    def tickets(self) -> list[ticket.Ticket]:
        """The tickets of the tenant that are not closed."""
        request = ticket_service.ListTicketsRequest()
        return list(self.client.tickets.ListTickets(request).tickets)

    def test_a_conversation_by_whatsapp(self) -> None:
        """From the customer's first message to the close, and what the subscriber hears."""
        self.customer_writes("wamid.1", "Olá")
        (opened,) = eventually("a ticket", self.tickets)
        assign = ticket_service.AssignTicketRequest(
            ticket_id=opened.ticket_id, agent_id=self.agent_id
        )
        self.client.tickets.AssignTicket(assign)
        self.agent_writes(opened.ticket_id)
        eventually("the warning at the provider", lambda: self.whatsapp.texts() == ["Ana?"])

        # The answer comes after the warning, and before the close.
        warned = self.whatsapp.sent[0]
        status = {
            "id": f"wamid.{warned['biz_opaque_callback_data']}",
            "status": "delivered",
            "timestamp": str(int(time.time())),
            "recipient_id": CUSTOMER,
        }
        self.call_back({"statuses": [status]})
        self.customer_writes("wamid.2", "Estou aqui")
        eventually(
            "the alert to go",
            lambda: self.read(opened.ticket_id).alert == ticket.ALERT_UNSPECIFIED,
        )
        (warning,) = self.messages(opened.ticket_id)
        self.assertEqual(warning.message.kind, active_message.ACTIVE_MESSAGE_KIND_WARNING)
        eventually(
            "the delivery",
            lambda: (
                self.messages(opened.ticket_id)[0].state
                == active_message.ACTIVE_MESSAGE_STATE_DELIVERED
            ),
        )

        self.agent_writes(opened.ticket_id)
        eventually(
            "the close",
            lambda: self.read(opened.ticket_id).state == ticket.TICKET_STATE_CLOSED,
        )
        eventually("the closing text", lambda: len(self.whatsapp.sent) == 3)
        self.assertEqual(self.whatsapp.texts(), ["Ana?", "Ana?", "Goodbye, Ana"])
        self.assertEqual(self.tickets(), [], "no other one was opened")

        eventually("the subscriber", lambda: "ticket.closed" in self.subscriber.types())
        self.check_what_the_subscriber_heard(opened.ticket_id)
        self.check_what_an_agent_sends_later(opened)

    def check_what_the_subscriber_heard(self, ticket_id: int) -> None:
        """All events of the ticket, in order, and each once as nothing failed."""
        numbers = [int(event["data"]["ticket_seq"]) for event in self.subscriber.events]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        tickets = {event["data"]["ticket_id"] for event in self.subscriber.events}
        self.assertEqual(tickets, {str(ticket_id)})
        said = [
            event["data"]["message"]["text"]
            for event in self.subscriber.events
            if event["type"] == "message.recorded"
        ]
        self.assertEqual(said, ["Olá", "Pois não?", "Estou aqui", "Pois não?"])
        types = self.subscriber.types()
        self.assertEqual(types[0], "ticket.opened")
        self.assertEqual(types.count("ticket.alert_raised"), 3)
        self.assertEqual(types.count("ticket.closed"), 1)

    def open_the_history(self) -> None:
        """To the agent, and as soon as a ticket is closed."""
        calls = self.client.history_settings
        calls.SetBotHistory(history_settings.SetBotHistoryRequest(bot_id=self.bot_id, enabled=True))
        calls.SetAgentAccess(
            history_settings.SetAgentAccessRequest(agent_ids=[self.agent_id], granted=True)
        )
        changed = history_settings.HistorySettings(show_delay=Duration(seconds=0))
        calls.UpdateHistorySettings(
            history_settings.UpdateHistorySettingsRequest(
                settings=changed, update_mask=FieldMask(paths=["show_delay"])
            )
        )

    def check_what_an_agent_sends_later(self, closed: ticket.Ticket) -> None:
        """Out of the history, to the customer of the closed ticket: in a new one, and once although
        the call is repeated."""
        self.open_the_history()
        known = history.GetTicketHistoryRequest(ticket_id=closed.ticket_id)
        eventually(
            "the history",
            lambda: self.client.history.GetTicketHistory(known).ticket.HasField("closure"),
        )
        text = "A bicicleta está pronta"
        request = outreach.SendActiveMessageRequest(
            contact_id=closed.contact_id,
            ticket_id=closed.ticket_id,
            text=text,
            request_id=str(uuid.uuid4()),
        )
        permissions = ("history:view", "messages:send")
        sender = self.client.acting_as(
            Actor(TENANT_ID, "agent", self.agent_id, permissions, (self.bot_id,))
        )
        calls = outreach_service_pb2_grpc.OutreachServiceStub(sender.history_channel)
        answer = calls.SendActiveMessage(request)
        eventually("the message at the provider", lambda: text in self.whatsapp.texts())
        self.assertEqual(calls.SendActiveMessage(request), answer)

        self.assertTrue(answer.opened)
        resumed = self.read(answer.ticket_id)
        self.assertEqual(resumed.previous_ticket_id, closed.ticket_id)
        self.assertEqual(resumed.agent_id, self.agent_id)
        eventually(
            "the state",
            lambda: (
                [
                    one.state
                    for one in self.messages(answer.ticket_id)
                    if one.message.idempotency_key == answer.idempotency_key
                ]
                == [active_message.ACTIVE_MESSAGE_STATE_SENT]
            ),
        )
        self.assertEqual(self.whatsapp.texts().count(text), 1)


if __name__ == "__main__":
    unittest.main()
