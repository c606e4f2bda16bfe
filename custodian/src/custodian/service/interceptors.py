"""The border: who is calling, may the call go on, how did it end. Every call passes here, health checks too.

gRPC has verified that the client's certificate is of our authority and in its time. What is left, on each call:

1. the SHA-256 of the certificate must stand in the partners' table, not revoked (gRPC knows no revocation list);
2. the partner's name that its URI holds must be the same partner's (the common name is never looked at);
3. the certificate must not call too often, nor the partner have too many calls open (`custodian.service.quotas`).

An error raised on purpose is told to the partner as `custodian.service.status` says; any other error is told as a
reference into the log, which is the call's request id. The access log holds that id, the certificate's first digits, method, status,
time and bytes; no name, no key, no content. A refusal also enters the log of decisions (`custodian.service.journal`).
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, NoReturn

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from google.protobuf.message import DecodeError

from custodian.service.journal import Journal
from custodian.service.limits import Limits
from custodian.service.metrics import Metrics
from custodian.service.pki import partner_names
from custodian.service.quotas import Quotas
from custodian.service.status import (
    DETAILS_KEY,
    BadRequest,
    Busy,
    NothingYet,
    TooSlow,
    Unauthenticated,
    answer,
    retry_details,
    unplanned,
)
from custodian.state.database import Partner
from custodian.state.log import short
from stimset.errors import PolicyDenied, StimsetError

_Decode = Callable[[Any], Any]
_UNKNOWN = "unknown"
_STREAMS = {False: "unary", True: "stream"}

_caller: ContextVar[Partner] = ContextVar("caller")


def caller() -> Partner:
    """The partner whose call is being answered.

    Raises:
        Unauthenticated: outside a call, or in one that did not pass the border.
    """
    partner = _caller.get(None)
    if partner is None:
        raise Unauthenticated("the call did not pass the border")
    return partner


@dataclass
class _Call:
    """What the access log will say of a call."""

    method: str
    request: str
    certificate: str = "none"
    code: grpc.StatusCode = grpc.StatusCode.OK
    sent_bytes: int = 0
    detail: str | None = None


class Border(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Authenticates, bounds and logs each call.

    Args:
        journal: records refusals; its table of partners is asked on each call, so that a revocation holds from the next call on.
        limits: how many calls there may be, and how long one may last.
        metrics: counts what happens.
    """

    def __init__(self, journal: Journal, limits: Limits, metrics: Metrics) -> None:
        self._journal = journal
        self._partners = journal.partners
        self._call_seconds = limits.call_seconds
        self._quotas = Quotas(limits)
        self._metrics = metrics
        self._log = structlog.get_logger("custodian.access")

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> grpc.RpcMethodHandler | None:
        """Put the border around the method's own behaviour."""
        handler = await continuation(handler_call_details)
        if handler is None:  # who asks for what there is not must show who they are all the same
            return grpc.unary_unary_rpc_method_handler(self._single(_not_offered, _UNKNOWN, bytes))
        # A request stays bytes until its sender is known: a stranger reaches no parser, no parser's error a partner.
        method, parse = handler_call_details.method, _decoder(handler.request_deserializer)
        decode = partial(_each, parse) if handler.request_streaming else parse
        kind = f"{_STREAMS[handler.request_streaming]}_{_STREAMS[handler.response_streaming]}"
        wrap = self._stream if handler.response_streaming else self._single
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(wrap(getattr(handler, kind), method, decode), None, _encoder(handler.response_serializer))

    def _single(
        self, inner: Callable[..., Awaitable[Any]], method: str, decode: _Decode
    ) -> Callable[..., Awaitable[Any]]:
        async def behaviour(data: Any, context: grpc.aio.ServicerContext) -> Any:
            async with self._guard(method, context) as call:
                response = await inner(decode(data), context)
                self._sent(call, response)
                return response

        return behaviour

    def _stream(self, inner: Callable[..., Any], method: str, decode: _Decode) -> Callable[..., Awaitable[None]]:
        # Written out through the context, not yielded: the time limit must begin and end in the call's own task.
        async def behaviour(data: Any, context: grpc.aio.ServicerContext) -> None:
            async with self._guard(method, context) as call:
                request = decode(data)
                if not inspect.isasyncgenfunction(inner):
                    await inner(request, context)
                    return
                async with aclosing(inner(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)
                        self._sent(call, response)

        return behaviour

    @asynccontextmanager
    async def _guard(self, method: str, context: grpc.aio.ServicerContext) -> AsyncIterator[_Call]:
        call = _Call(method, secrets.token_hex(6))
        began = time.monotonic()
        try:
            with self._metrics.open.track_inprogress(), structlog.contextvars.bound_contextvars(request=call.request):
                async with asyncio.timeout(self._call_seconds) as limit, self._admitted(call, context):
                    yield call
        except grpc.aio.AbortError:
            call.code = context.code()
            raise
        except StimsetError as error:
            call.detail = f"{type(error).__name__}: {error}"
            await self._refused(call, error)
            await _abort(call, context, *answer(error), retry_s=error.retry_s if isinstance(error, Busy) else None)
        except NotImplementedError:
            await _abort(call, context, grpc.StatusCode.UNIMPLEMENTED, "there is no such method")
        except TimeoutError as error:
            if not limit.expired():
                await self._fault(call, context, error)
            text = f"a call may last {self._call_seconds:g} s; read the rest by a new call with the next offset"
            await _abort(call, context, *answer(TooSlow(text)))
        except asyncio.CancelledError:
            call.code = grpc.StatusCode.CANCELLED
            raise
        except Exception as error:  # the last line of defence: nothing unplanned crosses the border
            await self._fault(call, context, error)
        finally:
            self._ended(call, time.monotonic() - began)

    def _sent(self, call: _Call, response: Any) -> None:
        size = len(response) if isinstance(response, bytes) else response.ByteSize()
        call.sent_bytes += size
        self._metrics.sent.inc(size)

    async def _refused(self, call: _Call, error: StimsetError) -> None:
        if isinstance(error, NothingYet) or not isinstance(error, PolicyDenied | Busy):
            return
        reason = type(error).__name__
        self._metrics.refusals.labels(reason).inc()
        if isinstance(error, Busy):
            self._metrics.quotas.labels(error.quota).inc()
        await self._journal.refuse(call.certificate, call.method.rpartition("/")[2][:80], reason)

    def _ended(self, call: _Call, seconds: float) -> None:
        self._metrics.calls.labels(call.method, call.code.name).inc()
        self._metrics.seconds.labels(call.method).observe(seconds)
        self._log.info(
            "call",
            request=call.request,
            method=call.method,
            partner=call.certificate,
            code=call.code.name,
            milliseconds=round(1000 * seconds, 1),
            sent_bytes=call.sent_bytes,
            **({} if call.detail is None else {"detail": call.detail}),
        )

    @asynccontextmanager
    async def _admitted(self, call: _Call, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        partner = await self._authenticate(call, context)
        with self._quotas.open_call(partner.name):
            token = _caller.set(partner)
            try:
                yield
            finally:
                _caller.reset(token)

    async def _authenticate(self, call: _Call, context: grpc.aio.ServicerContext) -> Partner:
        certificates = tuple(context.auth_context().get("x509_pem_cert", ()))
        if len(certificates) != 1:
            raise Unauthenticated("the call carries no client certificate")
        fingerprint, names, not_after = _identity(bytes(certificates[0]))
        call.certificate = short(fingerprint)
        self._quotas.take(fingerprint)
        partner = await asyncio.to_thread(self._partners.by_fingerprint, fingerprint)
        if partner is None:
            raise Unauthenticated(f"no partner has the certificate {fingerprint}")
        # One that is pinned from a partner's own authority has no name of ours; then the fingerprint alone says who it is.
        if names not in ((partner.name,), ()):
            raise Unauthenticated(f"the certificate {fingerprint} carries another partner's name")
        now = datetime.now(UTC)
        if partner.revoked(now):
            raise PolicyDenied(f"the certificate was revoked on {partner.revoked_at:%F}")
        # TLS looks at the time once, at the handshake; a connection can outlive its certificate.
        if not_after <= now:
            raise PolicyDenied("the certificate has expired")
        return partner

    async def _fault(self, call: _Call, context: grpc.aio.ServicerContext, error: Exception) -> NoReturn:
        self._metrics.faults.inc()
        self._log.error("fault", reference=call.request, method=call.method, exc_info=error)
        await _abort(call, context, *unplanned(call.request))


async def _not_offered(_request: bytes, _context: grpc.aio.ServicerContext) -> NoReturn:
    raise NotImplementedError


async def _each(parse: _Decode, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in requests:
        yield parse(data)


def _decoder(parse: Callable[[bytes], Any]) -> _Decode:
    def decode(data: bytes) -> Any:
        try:
            return parse(data)
        except (DecodeError, ValueError):
            raise BadRequest("the request is no message of this method") from None

    return decode


def _encoder(write: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """What a method answers with as bytes is its message already (`stimset.pieces`)."""

    def encode(response: Any) -> bytes:
        return response if isinstance(response, bytes) else write(response)

    return encode


async def _abort(
    call: _Call, context: grpc.aio.ServicerContext, code: grpc.StatusCode, message: str, retry_s: float | None = None
) -> NoReturn:
    call.code = code
    if retry_s is not None:
        context.set_trailing_metadata(((DETAILS_KEY, retry_details(code, message, retry_s)),))
    await context.abort(code, message)
    raise StimsetError(message)  # abort has raised; this line is for the type checker


@lru_cache(maxsize=256)
def _identity(pem: bytes) -> tuple[str, tuple[str, ...], datetime]:
    """SHA-256 (hex) of the DER certificate, the partners' names in it, its end."""
    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.fingerprint(hashes.SHA256()).hex(), partner_names(certificate), certificate.not_valid_after_utc
