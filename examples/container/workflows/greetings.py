"""A workflow to see that the container works."""

import os

from tako_lite import workflow


@workflow("greet")
async def greet(name: str) -> str:
    return f"{os.environ['GREETING']}, {name}!"
