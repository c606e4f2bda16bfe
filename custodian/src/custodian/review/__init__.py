"""The review page: the second person looks at what waits for a signature, and approves or rejects it in a browser.

::

    access.py     who may look: a one-time token, then one session; no I/O
    desk.py       what waits in a folder, and the two decisions about it, with the officer's own keys
    pages.py      the same as HTML; templates/ beside it
    routes.py     request -> response: host, session and form are checked here, once, before anything else
    serving.py    sockets: bounded in bytes, time and number, on loopback only

The page holds no script and nothing from outside. It runs where the officer's home is, and the keys never leave that home; what a
decision leaves is a signature, or a signed rejection, in the folder that goes back to the custodian. It ends when the officer says so, when
nobody has clicked for a while, or when nobody opened it.
"""
