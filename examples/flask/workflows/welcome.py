from flask import current_app

from tako_lite import BlockingStep, workflow


@workflow("welcome", worker="email", retries=5)
def welcome(payload: dict[str, str], step: BlockingStep) -> str:
    return step.run("mail", send, payload["email"])


def send(to: str) -> str:
    print(f"mail to {to}: {current_app.config['GREETING']}")  # stands for an SMTP server
    return f"{current_app.config['GREETING']}, {to}"
