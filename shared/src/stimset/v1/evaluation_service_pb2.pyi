from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SendModelRequest(_message.Message):
    __slots__ = ("sha256", "size", "offset", "data")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size: int
    offset: int
    data: bytes
    def __init__(self, sha256: _Optional[str] = ..., size: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class SendModelResponse(_message.Message):
    __slots__ = ("received",)
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    received: int
    def __init__(self, received: _Optional[int] = ...) -> None: ...

class EvaluateModelRequest(_message.Message):
    __slots__ = ("sha256", "release_id")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    release_id: str
    def __init__(self, sha256: _Optional[str] = ..., release_id: _Optional[str] = ...) -> None: ...

class EvaluateModelResponse(_message.Message):
    __slots__ = ("report",)
    REPORT_FIELD_NUMBER: _ClassVar[int]
    report: bytes
    def __init__(self, report: _Optional[bytes] = ...) -> None: ...

class GetEvaluationBudgetRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetEvaluationBudgetResponse(_message.Message):
    __slots__ = ("queries", "left", "advantage", "entries")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    ADVANTAGE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    queries: int
    left: int
    advantage: float
    entries: _containers.RepeatedCompositeFieldContainer[EvaluationBudgetEntry]
    def __init__(self, queries: _Optional[int] = ..., left: _Optional[int] = ..., advantage: _Optional[float] = ..., entries: _Optional[_Iterable[_Union[EvaluationBudgetEntry, _Mapping]]] = ...) -> None: ...

class EvaluationBudgetEntry(_message.Message):
    __slots__ = ("number", "created", "kind", "epsilon", "delta", "detail", "hash")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    number: int
    created: str
    kind: str
    epsilon: float
    delta: float
    detail: str
    hash: str
    def __init__(self, number: _Optional[int] = ..., created: _Optional[str] = ..., kind: _Optional[str] = ..., epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., detail: _Optional[str] = ..., hash: _Optional[str] = ...) -> None: ...
