"""Calls through the gateway, each with a token, and what came of them. Nobody repeats a call: each
failure counts."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from gateway import wait_for
from tokens import Issuer, bearer

CALL_TIMEOUT_S = 10.0


class Calls:
    """The calls of one tenant."""

    def __init__(self, issuer: Issuer, tenant: int) -> None:
        # Who makes the tokens from now on.
        self.issuer = issuer
        self.tenant = tenant
        # How often what came of a call: OK, or what went wrong.
        self.outcomes: collections.Counter[str] = collections.Counter()
        # How often each method was answered.
        self.answered: collections.Counter[str] = collections.Counter()
        # The most that any call took, in seconds.
        self.slowest_s = 0.0
        # Calls that go on, by the key of their token.
        self._under_way: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def actor(self, **claims: Any) -> dict[str, Any]:
        """Who makes a call, as claims of his token: an administrator, or whom these name."""
        return {"plazo_tenant": self.tenant, **claims}

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call by an administrator."""
        return bearer(self.issuer.token(**self.actor()))

    def __call__(self, method: Callable[..., Any], request: Any, actor: dict[str, Any]) -> Any:
        """Calls, with a token of this moment, and notes what came of it. Raises what the call
        raises."""
        name = type(request).__name__.removesuffix("Request")
        started = time.monotonic()
        with self._lock:
            issuer = self.issuer
            self._under_way[issuer.key_id] += 1
        try:
            metadata = bearer(issuer.token(**actor))
            answer = method(request, metadata=metadata, timeout=CALL_TIMEOUT_S)
            if isinstance(answer, grpc.Call):
                # The answers of a stream, to its end.
                answer = list(answer)
        except grpc.RpcError as error:
            self.note(f"{name}: {error.code().name}: {error.details()}")
            raise
        finally:
            with self._lock:
                self._under_way[issuer.key_id] -= 1
        with self._lock:
            self.outcomes["OK"] += 1
            self.answered[name] += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        return answer

    def sign_by(self, issuer: Issuer) -> None:
        """Makes tokens by this issuer from now on. Returns when no call goes on with another's."""
        with self._lock:
            before, self.issuer = self.issuer, issuer
        wait_for("calls with old tokens end", lambda: self._under_way[before.key_id] == 0)

    def note(self, outcome: str) -> None:
        """Counts something that went wrong."""
        with self._lock:
            self.outcomes[outcome] += 1
