"""E-mail by a real mail server and webhooks over HTTPS, with certificates of a company's own.

The mail server is aiosmtpd, with STARTTLS and AUTH; the certificates are made here, by an authority
that Plazo knows from a file alone. The calls of webhooks are checked by a library of Standard
Webhooks that knows nothing of Plazo.
"""

from __future__ import annotations

import email
import email.policy
import itertools
import json
import logging
import socket
import ssl
import threading
import time
import unittest
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from google.protobuf.field_mask_pb2 import FieldMask
from plazo.common.v1 import common_pb2 as common
from plazo.notification.v1 import active_message_pb2 as active_message
from plazo.notification.v1 import notification_service_pb2 as notification
from plazo.notification.v1 import notification_service_pb2_grpc
from standardwebhooks import Webhook

from channels_test import eventually
from cluster import Cluster
from conversation import ADMINISTRATOR_PERMISSIONS
from plazo_client import Actor, Client

TENANT_ID = 32
USER, PASSWORD = "desk@example.com", "it's me"
TEXT = "Olá, você está aí?\n\n¿Sigue ahí, Zoë? Grüße & ça va: 日本 🙂\n.\nEnd"
IMAGE_URL = "https://example.com/relógio.png"
STATES = active_message.ActiveMessageState


class MailServer:
    """A mail server for one user, which keeps what it takes and refuses as it is told to."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.mails: list[Envelope] = []
        self.refusals: dict[str, list[str]] = {}
        self.logins: list[bool] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        # The controller knows no port 0.
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=context,
            require_starttls=True,
            authenticator=self._authenticate,
            auth_required=True,
        )
        self._controller.start()

    def stop(self) -> None:
        """Ends it."""
        self._controller.stop()

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: Any
    ) -> AuthResult:
        assert isinstance(login, LoginPassword)
        is_right = login == LoginPassword(USER.encode(), PASSWORD.encode())
        self.logins.append(is_right)
        # Without `handled` the server itself says so, as RFC 4954 has it.
        return AuthResult(success=is_right, handled=False)

    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """As the base class wants it to be called; answers what the recipient is to be answered."""
        answers = self.refusals.get(address, [])
        if answers:
            return answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """The same for the content."""
        self.mails.append(envelope)
        return "250 taken"

    def mails_to(self, address: str) -> list[EmailMessage]:
        """What was taken for a recipient."""
        taken = [mail for mail in self.mails if mail.rcpt_tos == [address]]
        parsed = [
            email.message_from_bytes(mail.content, policy=email.policy.default)
            for mail in taken
            if isinstance(mail.content, bytes)
        ]
        return [mail for mail in parsed if isinstance(mail, EmailMessage)]


class Endpoint:
    """An HTTPS server that checks each call by the independent library, and keeps it."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.secret = ""
        self.calls: list[dict[str, Any]] = []
        self.refused: list[str] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            # As the base class wants it to be called.
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    call = Webhook(endpoint.secret).verify(body, headers)
                # A library's errors and those of a body that is no JSON alike.
                except Exception as error:  # noqa: BLE001
                    endpoint.refused.append(repr(error))
                    self.answer(401)
                    return
                endpoint.calls.append({"id": headers["webhook-id"], **call})
                self.answer(204)

            def answer(self, status: int) -> None:
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing: the test's output is for failures."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


class SecureChannelsTest(unittest.TestCase):
    """One cluster for all of them."""

    @classmethod
    def setUpClass(cls) -> None:
        # The mail server tells of each handshake that a client breaks off.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)
        authority = cls.authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        cls.mail_server, cls.endpoint = MailServer(certificate), Endpoint(certificate)
        cls.addClassCleanup(cls.mail_server.stop)
        cls.addClassCleanup(cls.endpoint.stop)
        strangers = trustme.CA().issue_cert("localhost", "127.0.0.1")
        cls.unknown_endpoint = Endpoint(strangers)
        cls.addClassCleanup(cls.unknown_endpoint.stop)
        cluster = Cluster()
        cls.addClassCleanup(cluster.stop)
        secrets = cluster.folder / "secrets" / str(TENANT_ID)
        secrets.mkdir(parents=True)
        for name, password in (("right", PASSWORD), ("wrong", "guess")):
            (secrets / name).write_text(json.dumps({"username": USER, "password": password}))
        authorities = cluster.folder / "authorities.pem"
        authority.cert_pem.write_to_path(str(authorities))
        cluster.start(
            {
                "PLAZO_NOTIFICATION__CREDENTIALS__FOLDER": str(secrets.parent),
                "PLAZO_NOTIFICATION__TRUST__CERTIFICATES_FILE": str(authorities),
            }
        )
        cls.keys = itertools.count(1)
        administrator = Actor(TENANT_ID, "administrator", 1, ADMINISTRATOR_PERMISSIONS)
        cls.client = Client(cluster.addresses, administrator)
        cls.addClassCleanup(cls.client.close)
        stub = notification_service_pb2_grpc.ChannelAccountServiceStub
        cls.accounts = stub(cls.client.notification_channel)
        cls.timer = cls.client.acting_as(Actor(0, "service", "timer", ("service",)))

    def mailbox(self, credential: str = "right", server: MailServer | None = None) -> int:
        """Creates an account of a mail server."""
        settings = notification.EmailSettings(
            from_address=USER,
            from_name="Atenção",
            subject="Está aí?",
            smtp_host="localhost",
            smtp_port=(server or self.mail_server).port,
            smtp_tls=notification.SMTP_TLS_STARTTLS,
        )
        account = notification.ChannelAccount(
            name="desk",
            channel=common.CHANNEL_EMAIL,
            email=settings,
            credential_name=credential,
        )
        request = notification.CreateChannelAccountRequest(account=account)
        return self.accounts.CreateChannelAccount(request).account.channel_account_id

    def send(self, account_id: int, channel: int, address: str) -> int:
        """Hands a message over as the timer does; its id."""
        message = active_message.ActiveMessage(
            tenant_id=TENANT_ID,
            idempotency_key=f"mail/{next(self.keys)}",
            kind=active_message.ACTIVE_MESSAGE_KIND_OUTREACH,
            bot_id=1,
            contact_id=1,
            recipient=common.ChannelIdentity(channel=channel, address=address),
            channel_account_id=account_id,
            text=TEXT,
            image_url=IMAGE_URL if channel == common.CHANNEL_EMAIL else "",
        )
        request = notification.SendActiveMessagesRequest(messages=[message])
        (result,) = self.timer.notification.SendActiveMessages(request).results
        self.assertEqual(result.outcome, notification.SEND_OUTCOME_ACCEPTED, result)
        return result.message_id

    def mail(self, account_id: int, address: str) -> int:
        """The same by mail."""
        return self.send(account_id, common.CHANNEL_EMAIL, address)

    def read(self, message_id: int) -> notification.AcceptedMessage:
        """The message as it is now."""
        request = notification.GetActiveMessageRequest(message_id=message_id)
        return self.client.notification.GetActiveMessage(request).message

    def until(self, message_id: int, state: int) -> notification.AcceptedMessage:
        """Waits until the message has a state."""
        eventually(
            f"message {message_id} to be {STATES.Name(state)}",
            lambda: self.read(message_id).state == state,
        )
        return self.read(message_id)

    def test_a_mail_arrives_once_with_all_its_letters(self) -> None:
        """Over STARTTLS, by the right password."""
        message_id = self.mail(self.mailbox(), "zoe@example.org")
        sent = self.until(message_id, active_message.ACTIVE_MESSAGE_STATE_SENT)
        (mail,) = self.mail_server.mails_to("zoe@example.org")
        self.assertEqual(mail["subject"], "Está aí?")
        self.assertEqual(mail["from"].addresses[0].display_name, "Atenção")
        self.assertEqual(mail["from"].addresses[0].addr_spec, USER)
        self.assertEqual(mail["to"], "zoe@example.org")
        self.assertEqual(mail["message-id"], f"<{message_id}@example.com>")
        self.assertEqual(sent.provider_message_id, mail["message-id"])
        self.assertEqual(mail.get_content_type(), "text/plain")
        said = mail.get_content().replace("\r\n", "\n").rstrip("\n")
        self.assertEqual(said, f"{TEXT}\n\n{IMAGE_URL}")
        # A dangerous moment for a second copy is the next look at the queue.
        time.sleep(1.0)
        self.assertEqual(len(self.mail_server.mails_to("zoe@example.org")), 1)

    def test_a_refused_recipient_is_not_tried_again(self) -> None:
        """550 is the end; the mailbox goes on."""
        account_id = self.mailbox()
        self.mail_server.refusals["nobody@example.org"] = ["550 5.1.1 no such user"]
        message_id = self.mail(account_id, "nobody@example.org")
        failed = self.until(message_id, active_message.ACTIVE_MESSAGE_STATE_FAILED)
        self.assertEqual(failed.failure_reason, "SMTP_550")
        self.assertEqual(len(failed.attempts), 1)
        other = self.mail(account_id, "somebody@example.org")
        self.until(other, active_message.ACTIVE_MESSAGE_STATE_SENT)

    def test_what_is_refused_for_now_is_tried_again(self) -> None:
        """450 and 451 are for now, and the third attempt goes out."""
        self.mail_server.refusals["full@example.org"] = ["450 busy", "451 busy"]
        message_id = self.mail(self.mailbox(), "full@example.org")
        sent = self.until(message_id, active_message.ACTIVE_MESSAGE_STATE_SENT)
        outcomes = [attempt.outcome for attempt in sent.attempts]
        self.assertEqual(sorted(outcomes), ["OK", "SMTP_450", "SMTP_451"])
        self.assertEqual(len(self.mail_server.mails_to("full@example.org")), 1)

    def test_a_wrong_password_stops_the_mailbox_until_it_is_mended(self) -> None:
        """The message waits, and goes out by the credential that the account is given."""
        account_id = self.mailbox("wrong")
        message_id = self.mail(account_id, "late@example.org")

        def account() -> notification.ChannelAccount:
            request = notification.ListChannelAccountsRequest(page_size=500)
            found = self.accounts.ListChannelAccounts(request).accounts
            return next(one for one in found if one.channel_account_id == account_id)

        eventually("the stop", lambda: account().stopped_reason)
        self.assertEqual(account().stopped_reason, "SMTP_535")
        self.assertIn(False, self.mail_server.logins)
        self.assertEqual(self.read(message_id).state, active_message.ACTIVE_MESSAGE_STATE_ACCEPTED)
        changed = notification.ChannelAccount(
            channel_account_id=account_id, credential_name="right", etag=account().etag
        )
        update = notification.UpdateChannelAccountRequest(
            account=changed, update_mask=FieldMask(paths=["credential_name"])
        )
        self.assertEqual(
            self.accounts.UpdateChannelAccount(update).account.credential_name, "right"
        )
        enable = notification.SetChannelAccountEnabledRequest(
            channel_account_id=account_id, enabled=True
        )
        self.accounts.SetChannelAccountEnabled(enable)
        self.until(message_id, active_message.ACTIVE_MESSAGE_STATE_SENT)
        self.assertEqual(len(self.mail_server.mails_to("late@example.org")), 1)

    def test_a_certificate_for_another_name_is_not_accepted(self) -> None:
        """No password and no mail goes to a server that can't show who it is."""
        server = MailServer(self.authority.issue_cert("mail.example.org"))
        self.addCleanup(server.stop)
        message_id = self.mail(self.mailbox(server=server), "spy@example.org")
        eventually("an attempt", lambda: self.read(message_id).attempts)
        self.assertEqual(self.read(message_id).attempts[0].outcome, "TLS_FAILED")
        self.assertEqual((server.logins, server.mails), ([], []))

    def webhook(self, endpoint: Endpoint) -> int:
        """Creates an account of an endpoint."""
        account = notification.ChannelAccount(
            name="endpoint",
            channel=common.CHANNEL_WEBHOOK,
            webhook=notification.WebhookSettings(url=endpoint.url),
        )
        request = notification.CreateChannelAccountRequest(account=account)
        answer = self.accounts.CreateChannelAccount(request)
        endpoint.secret = answer.signing_secret
        return answer.account.channel_account_id

    def test_a_webhook_goes_out_over_https_and_is_signed(self) -> None:
        """To an endpoint whose authority is in the file."""
        account_id = self.webhook(self.endpoint)
        message_id = self.send(account_id, common.CHANNEL_WEBHOOK, "customer-1")
        self.until(message_id, active_message.ACTIVE_MESSAGE_STATE_DELIVERED)
        (call,) = self.endpoint.calls
        self.assertEqual(call["id"], f"msg_{message_id}")
        self.assertEqual(call["type"], "active_message.outreach")
        self.assertEqual(call["data"]["text"], TEXT)
        self.assertEqual(self.endpoint.refused, [])

    def test_an_unknown_authority_is_not_trusted(self) -> None:
        """The endpoint's certificate is of nobody's that Plazo knows."""
        account_id = self.webhook(self.unknown_endpoint)
        message_id = self.send(account_id, common.CHANNEL_WEBHOOK, "customer-2")
        eventually("an attempt", lambda: self.read(message_id).attempts)
        self.assertEqual(self.read(message_id).attempts[0].outcome, "CONNECTION_FAILED")
        self.assertEqual(self.unknown_endpoint.calls, [])


if __name__ == "__main__":
    unittest.main()
