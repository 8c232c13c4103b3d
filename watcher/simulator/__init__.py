"""A simulator of Dynamiq's Runs API, to develop and test against, and for `watcher demo`.

It is written from the API's documentation and imports nothing else of the watcher, so it cannot share its
mistakes. Each behaviour that the documentation leaves open is an option (`options.Options`); every guess is
marked as assumed.

Nothing is imported here, so that `simulate --help` lists the scenarios without loading them.
"""
