"""The daemon: releases over gRPC with mutual TLS.

Before the first call::

    pki            the private authority: server certificate, partners' certificates
    homes          a new home, with everything in it
    enrolment      a partner's request or certificate -> the folder that it gets back; its renewal

In the order of a call::

    server         listens, drains; what runs beside the calls
    credentials    whom TLS lets in; certificates are read anew for each connection
    interceptors   who calls: certificate -> `Partner`, or refused; times, counts and logs every call
    quotas         how much one partner may ask (`limits`)
    servicers      decode, call, encode
    evaluations    a partner's student -> an examiner process (`custodian.evaluation`), which alone reads windows
    journal        what leaves is recorded before it leaves
    status         what an error becomes on the other side

For whoever runs it::

    logs           one line for each event
    metrics        what Prometheus reads; `expiries` is what ends next
    notify         what the service manager is told

Nothing in this package loads torch or reads a window; the daemon opens no signing key but the online one.
"""
