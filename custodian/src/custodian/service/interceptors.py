"""The border: who is calling, may the call go on, how did it end. Every call passes here, health checks too.

gRPC has verified that the client's certificate is of our authority and in its time. What is left, on each call:

1. the SHA-256 of the certificate must stand in the partners' table, not revoked (gRPC knows no revocation list);
2. its URI name must be that of the same partner (the common name is never looked at);
3. the partner must not have too many calls open already.

An error raised on purpose is told to the partner as `custodian.service.status` says; any other error is told as a
reference into the log. The access log names the partner, method, status, time and bytes;
no certificate, no key, no content. A refusal also enters the log of decisions (`custodian.service.journal`).
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NoReturn

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from google.protobuf.message import DecodeError

from custodian.service.journal import Journal
from custodian.service.pki import PARTNER_URI
from custodian.service.status import BadRequest, Busy, NothingYet, TooSlow, Unauthenticated, answer, unplanned
from custodian.state.database import Partner
from custodian.state.log import short
from stimset.errors import PolicyDenied, StimsetError

_Decode = Callable[[bytes], Any]

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
    partner: str = "?"
    certificate: str = "none"
    code: grpc.StatusCode = grpc.StatusCode.OK
    sent_bytes: int = 0
    detail: str | None = None
    reference: str | None = None


class Border(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Authenticates, bounds and logs each call.

    Args:
        journal: records refusals; its table of partners is asked on each call, so that a revocation holds from the next call on.
        calls_per_partner: how many calls one partner may have open at once.
        call_seconds: how long a call may last.
    """

    def __init__(self, journal: Journal, *, calls_per_partner: int, call_seconds: float) -> None:
        self._journal = journal
        self._partners = journal.partners
        self._calls_per_partner = calls_per_partner
        self._call_seconds = call_seconds
        self._open: Counter[str] = Counter()
        self._log = structlog.get_logger("custodian.access")

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> grpc.RpcMethodHandler | None:
        """Put the border around the method's own behaviour. Methods that stream from the client don't exist here."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return None
        # The request stays bytes until its sender is known: a stranger reaches no parser, no parser's error a partner.
        method, decode = handler_call_details.method, _decoder(handler.request_deserializer)
        if handler.response_streaming:
            wrapped, make = self._stream(handler.unary_stream, method, decode), grpc.unary_stream_rpc_method_handler
        else:
            wrapped, make = self._single(handler.unary_unary, method, decode), grpc.unary_unary_rpc_method_handler
        return make(wrapped, None, handler.response_serializer)

    def _single(
        self, inner: Callable[..., Awaitable[Any]], method: str, decode: _Decode
    ) -> Callable[..., Awaitable[Any]]:
        async def behaviour(data: bytes, context: grpc.aio.ServicerContext) -> Any:
            async with self._guard(method, context) as call:
                response = await inner(decode(data), context)
                call.sent_bytes += response.ByteSize()
                return response

        return behaviour

    def _stream(self, inner: Callable[..., Any], method: str, decode: _Decode) -> Callable[..., Awaitable[None]]:
        # Written out through the context, not yielded: the time limit must begin and end in the call's own task.
        async def behaviour(data: bytes, context: grpc.aio.ServicerContext) -> None:
            async with self._guard(method, context) as call:
                request = decode(data)
                if not inspect.isasyncgenfunction(inner):
                    await inner(request, context)
                    return
                async with aclosing(inner(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)
                        call.sent_bytes += response.ByteSize()

        return behaviour

    @asynccontextmanager
    async def _guard(self, method: str, context: grpc.aio.ServicerContext) -> AsyncIterator[_Call]:
        call = _Call(method)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._call_seconds) as limit, self._admitted(call, context):
                yield call
        except grpc.aio.AbortError:
            call.code = context.code()
            raise
        except StimsetError as error:
            call.detail = f"{type(error).__name__}: {error}"
            if isinstance(error, PolicyDenied | Busy) and not isinstance(error, NothingYet):
                await self._journal.refuse(call.certificate, method.rpartition("/")[2][:80], type(error).__name__)
            await _abort(call, context, *answer(error))
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
            self._log.info(
                "call",
                method=call.method,
                partner=call.partner,
                code=call.code.name,
                milliseconds=round(1000 * (time.monotonic() - began), 1),
                sent_bytes=call.sent_bytes,
                **{key: value for key in ("detail", "reference") if (value := getattr(call, key)) is not None},
            )

    @asynccontextmanager
    async def _admitted(self, call: _Call, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        partner = await self._authenticate(call, context)
        call.partner = partner.name
        if self._open[partner.name] >= self._calls_per_partner:
            raise Busy(f"you have {self._calls_per_partner} calls open already; wait for one to end")
        self._open[partner.name] += 1
        token = _caller.set(partner)
        try:
            yield
        finally:
            _caller.reset(token)
            self._open[partner.name] -= 1
            if not self._open[partner.name]:
                del self._open[partner.name]

    async def _authenticate(self, call: _Call, context: grpc.aio.ServicerContext) -> Partner:
        certificates = tuple(context.auth_context().get("x509_pem_cert", ()))
        if len(certificates) != 1:
            raise Unauthenticated("the call carries no client certificate")
        fingerprint, names, not_after = _identity(bytes(certificates[0]))
        call.certificate = short(fingerprint)
        partner = await asyncio.to_thread(self._partners.by_fingerprint, fingerprint)
        if partner is None:
            raise Unauthenticated(f"no partner has the certificate {fingerprint}")
        if names != (PARTNER_URI + partner.name,):
            raise Unauthenticated(f"the certificate {fingerprint} lacks the URI name of partner '{partner.name}'")
        if partner.revoked_at is not None:
            raise PolicyDenied(f"the certificate of partner '{partner.name}' was revoked on {partner.revoked_at:%F}")
        # TLS looks at the time once, at the handshake; a connection can outlive its certificate.
        if not_after <= datetime.now(UTC):
            raise PolicyDenied(f"the certificate of partner '{partner.name}' has expired")
        return partner

    async def _fault(self, call: _Call, context: grpc.aio.ServicerContext, error: Exception) -> NoReturn:
        call.reference = secrets.token_hex(6)
        self._log.error("fault", reference=call.reference, method=call.method, exc_info=error)
        await _abort(call, context, *unplanned(call.reference))


def _decoder(parse: Callable[[bytes], Any]) -> _Decode:
    def decode(data: bytes) -> Any:
        try:
            return parse(data)
        except (DecodeError, ValueError):
            raise BadRequest("the request is no message of this method") from None

    return decode


async def _abort(call: _Call, context: grpc.aio.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    call.code = code
    await context.abort(code, message)
    raise StimsetError(message)  # abort has raised; this line is for the type checker


@lru_cache(maxsize=256)
def _identity(pem: bytes) -> tuple[str, tuple[str, ...], datetime]:
    """SHA-256 (hex) of the DER certificate, its URI names, its end."""
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
    except x509.ExtensionNotFound:
        uris = ()
    return certificate.fingerprint(hashes.SHA256()).hex(), uris, certificate.not_valid_after_utc
