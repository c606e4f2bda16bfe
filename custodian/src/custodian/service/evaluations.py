"""The evaluation service's methods: take a model in pieces, let an examiner answer, show a partner its own budget.

One examiner works at a time; who comes later waits, and the call's own limit bounds how long.
"""

from __future__ import annotations

import asyncio
from contextlib import closing

import grpc

from custodian.budget import Ledger
from custodian.config import Home
from custodian.evaluation.policy import PURPOSE, Policy
from custodian.evaluation.receiving import Incoming, evaluated
from custodian.service.interceptors import caller
from custodian.service.servicers import RELEASE_ID, Store
from custodian.service.status import BadRequest, NotFound
from custodian.state.database import Partner
from stimset.v1 import evaluation_service_pb2 as pb
from stimset.v1 import evaluation_service_pb2_grpc as pb_grpc

MOST_ENTRIES = 1000


class EvaluationServicer(pb_grpc.EvaluationServiceServicer):
    """`stimset.v1.EvaluationService` over the home's examiner; only for releases that are granted to the caller."""

    def __init__(self, home: Home, store: Store) -> None:
        self._home = home
        self._store = store
        self._incoming = Incoming(home)
        self._turn = asyncio.Lock()

    async def SendModel(  # noqa: N802
        self, request: pb.SendModelRequest, context: grpc.aio.ServicerContext
    ) -> pb.SendModelResponse:
        """The next piece of a model."""
        arguments = (request.sha256, request.size, request.offset, request.data)
        return pb.SendModelResponse(received=await asyncio.to_thread(self._incoming.add, caller(), *arguments))

    async def EvaluateModel(  # noqa: N802
        self, request: pb.EvaluateModelRequest, context: grpc.aio.ServicerContext
    ) -> pb.EvaluateModelResponse:
        """The signed report on the model that was sent; the model is not kept."""
        partner = caller()
        if not RELEASE_ID.match(request.release_id):
            raise BadRequest("release_id must have 1 to 128 lower-case letters, digits and hyphens")
        entries = await asyncio.to_thread(self._store.list)
        if not any(entry.release_id == request.release_id and partner.sees(entry.name) for entry in entries):
            raise NotFound(f"release {request.release_id} does not exist or is not granted")
        async with self._turn:
            model = await asyncio.to_thread(self._incoming.whole, partner, request.sha256)
            report = await evaluated(self._home, partner, request.release_id, model)
            model.unlink(missing_ok=True)
        return pb.EvaluateModelResponse(report=report)

    async def GetEvaluationBudget(  # noqa: N802
        self, request: pb.GetEvaluationBudgetRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetEvaluationBudgetResponse:
        """What the ledger says of the caller."""
        return await asyncio.to_thread(self._budget, caller())

    def _budget(self, partner: Partner) -> pb.GetEvaluationBudgetResponse:
        policy = Policy.of(self._home.settings())
        with closing(Ledger.open(self._home)) as ledger:
            entries = [e for e in ledger.entries(subject=partner.name) if e.purpose == PURPOSE]
        spent = sum(e.kind == "reserve" and e.cohort == entries[-1].cohort for e in entries)
        return pb.GetEvaluationBudgetResponse(
            queries=policy.queries,
            left=max(0, policy.queries - spent),
            advantage=policy.advantage,
            entries=[
                pb.EvaluationBudgetEntry(
                    number=e.number, created=e.created, kind=e.kind, epsilon=e.epsilon or 0.0, delta=e.delta or 0.0, detail=e.detail,
                    hash=e.hash,
                )
                for e in entries[-MOST_ENTRIES:]
            ],
        )  # fmt: skip
