"""A simulator of Dynamiq's Runs API, to develop and to test against, and for `watcher demo`.

It is written from the API's documentation and shares no code with the watcher that it tests. What the
documentation leaves open is a field of `options.Knobs`; every guess is marked as assumed.

Nothing is imported here, so that `simulate --help` can list the scenarios without loading what plays them.
"""
