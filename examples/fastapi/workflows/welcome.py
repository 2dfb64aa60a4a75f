from pydantic import BaseModel

from tako_lite import Step, workflow


class Signup(BaseModel):
    email: str
    name: str


@workflow("welcome", worker="email", retries=5)
async def welcome(signup: Signup, step: Step) -> str:
    await step.run("mail", send, signup.email, f"Welcome, {signup.name}")
    return f"welcomed {signup.name}"


def send(to: str, subject: str) -> None:
    print(f"mail to {to}: {subject}")  # stands for an SMTP server
