"""The daemon: releases over gRPC with mutual TLS.

Before the first call::

    pki            the private authority: server certificate, partners' certificates
    homes          a new home, with everything in it
    enrolment      a partner's certificate request -> the folder that it gets back

In the order of a call::

    server         listens, limits, drains
    interceptors   who calls: certificate -> `Partner`, or refused; times and logs every call
    servicers      decode, call, encode
    status         what an error becomes on the other side

Nothing in this package loads torch or reads a window; the daemon opens no signing key.
"""
