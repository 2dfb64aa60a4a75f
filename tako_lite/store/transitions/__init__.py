"""The rules of the queue, for every backend: what each transition changes and what follows from it.

A transition is a function of a `Transaction` and runs on the backend's writing thread. It uses statements by name, which each
backend brings in its own SQL, and it never sees a driver. It puts what others must know after COMMIT into
`transaction.effects`.
"""
