"""A stand-in for the WhatsApp Cloud API: takes messages, and tells by callbacks through the gateway
that they were delivered."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import hmac
import json
import queue
import ssl
import threading
import time
import urllib.error
import urllib.request
import uuid
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from plazo.common.v1 import common_pb2 as common
from plazo.notification.v1 import active_message_pb2 as active_message
from plazo.notification.v1 import notification_service_pb2 as notification
from plazo.notification.v1 import notification_service_pb2_grpc

from calls import Calls
from gateway import Gateway

ACCESS_TOKEN = "let-me-in"
APP_SECRET = "hush-hush"
NUMBER = "106540352242922"
CREDENTIAL = "number"
TIMEOUT_S = 10.0
# A provider repeats a callback that failed; this one does soon.
REPEAT_AFTER_S = 0.5


class Provider:
    """Takes each message for its number, and knows how often it did."""

    def __init__(self) -> None:
        # By our reference: how often it was taken.
        self.sent: collections.Counter[str] = collections.Counter()
        # Requests that were refused: why.
        self.refused: list[str] = []
        # How often what came of a callback.
        self.outcomes: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._to_tell: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self._callbacks: Callbacks | None = None
        provider = self

        class Handler(BaseHTTPRequestHandler):
            # As the base class wants it to be called.
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = provider._take(self.path, self.headers.get("authorization", ""), body)
                self.send_response(200 if answer else 400)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                # Who asked may be gone.
                with contextlib.suppress(OSError):
                    self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Says nothing: the test's output is for failures."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._threads = [threading.Thread(target=self._server.serve_forever)]
        self._threads[0].start()

    def secret(self, tenant: int) -> dict[str, str]:
        """What the Secret `notification-credentials` holds for a tenant who writes by this number:
        the credential, and that the number is here."""
        credential = {"access_token": ACCESS_TOKEN, "app_secret": APP_SECRET, "verify_token": "x"}
        name = f"PLAZO_NOTIFICATION_CREDENTIAL__{tenant}__{CREDENTIAL.upper()}"
        return {name: json.dumps(credential), "PLAZO_NOTIFICATION__WHATSAPP__BASE_URL": self.url}

    def create_account(self, gateway: Gateway, calls: Calls) -> int:
        """The tenant's account of the number, which takes templates for messages of any kind. From
        now on the provider calls back."""
        account = notification.ChannelAccount(
            name="number",
            channel=common.CHANNEL_WHATSAPP,
            whatsapp=notification.WhatsAppSettings(
                phone_number_id=NUMBER,
                templates=[
                    notification.WhatsAppTemplate(
                        name="anything", language_code="pt_BR", body_parameters=["{{text}}"]
                    )
                ],
            ),
            credential_name=CREDENTIAL,
        )
        with gateway.channel() as channel:
            answer = calls(
                notification_service_pb2_grpc.ChannelAccountServiceStub(
                    channel
                ).CreateChannelAccount,
                notification.CreateChannelAccountRequest(account=account),
                calls.actor(),
            )
        account_id = int(answer.account.channel_account_id)
        url = f"https://localhost:{gateway.port}/callbacks/whatsapp/{calls.tenant}/{account_id}"
        self._callbacks = Callbacks(gateway, url)
        self._threads.append(threading.Thread(target=self._tell))
        self._threads[-1].start()
        return account_id

    def _take(self, path: str, authorization: str, body: bytes) -> bytes:
        """The answer to a request; empty when it is refused."""
        message = json.loads(body)
        reference = str(message["biz_opaque_callback_data"])
        if authorization != f"Bearer {ACCESS_TOKEN}" or f"/{NUMBER}/messages" not in path:
            self.refused.append(f"{path}: {reference}")
            return b""
        with self._lock:
            self.sent[reference] += 1
        self._to_tell.put((reference, str(message["to"])))
        return json.dumps({"messages": [{"id": f"wamid.{reference}"}]}).encode()

    def _tell(self) -> None:
        """Tells of each message that it was delivered."""
        while (told := self._to_tell.get()) is not None:
            reference, recipient = told
            status = {
                "id": f"wamid.{reference}",
                "status": "delivered",
                "timestamp": str(int(time.time())),
                "recipient_id": recipient,
                # By which it is known even before our answer was.
                "biz_opaque_callback_data": reference,
            }
            self._call_back({"statuses": [status]})

    def customer_writes(self, number: str, text: str) -> None:
        """Tells that a customer wrote, twice, and returns when both were heard."""
        message = {
            "from": number.removeprefix("+"),
            "id": f"wamid.{uuid.uuid4()}",
            "timestamp": str(int(time.time())),
            "type": "text",
            "text": {"body": text},
        }
        for _ in range(2):
            self._call_back({"messages": [message]})

    def _call_back(self, value: dict[str, Any]) -> None:
        """Calls back, again until it is heard or nobody waits for it any more."""
        assert self._callbacks is not None
        value = {"metadata": {"phone_number_id": NUMBER}, **value}
        entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
        while not self._ended.is_set():
            outcome = self._callbacks.post(body)
            with self._lock:
                self.outcomes[outcome] += 1
            if outcome == "OK":
                return
            self._ended.wait(REPEAT_AFTER_S)

    def stop(self) -> None:
        """Ends it."""
        self._ended.set()
        self._to_tell.put(None)
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()


class Callbacks:
    """Where the provider tells what happens: through the gateway."""

    def __init__(self, gateway: Gateway, url: str) -> None:
        self._gateway = gateway
        self._url = url

    def post(self, body: bytes) -> str:
        """What comes of a signed callback, on a connection of its own."""
        digest = hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(
            self._url, data=body, headers={"x-hub-signature-256": f"sha256={digest}"}
        )
        # Whom it trusts may have changed.
        authority = self._gateway.files.public_authority().decode()
        context = ssl.create_default_context(cadata=authority)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as answer:
                return "OK" if answer.status == HTTPStatus.OK else f"callback: {answer.status}"
        except urllib.error.HTTPError as error:
            return f"callback: {error.code} {error.read()[:200]!r}"
        except OSError as error:
            return f"callback: {error}"


def is_settled(message: notification.AcceptedMessage) -> bool:
    """Whether nothing more will happen to a message, unless it is read."""
    return message.state not in (
        active_message.ACTIVE_MESSAGE_STATE_ACCEPTED,
        active_message.ACTIVE_MESSAGE_STATE_SENT,
    )
