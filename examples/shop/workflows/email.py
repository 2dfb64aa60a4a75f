"""Mails of the shop, through the SMTP server at SMTP_HOST and SMTP_PORT."""

from __future__ import annotations

import os
import secrets
import smtplib
from dataclasses import dataclass
from email.message import EmailMessage

from tako_lite import Step, workflow


@dataclass(frozen=True)
class Customer:
    address: str


@dataclass(frozen=True)
class Issue:
    """One issue of the newsletter."""

    number: int
    text: str
    subscribers: list[str]


@workflow("password-reset", worker="email", retries=8, timeout="1m")
async def password_reset(customer: Customer, step: Step) -> None:
    # A step creates the token, so that a second attempt mails the same token that the first one may have mailed.
    token = await step.run("token", secrets.token_urlsafe, 16)
    text = f"Choose a new password: https://shop.example/reset/{token}\n"
    await step.run("send", send, step.run_id, customer.address, "Your new password", text)


@workflow("newsletter", worker="email", retries=8)
async def newsletter(issue: Issue, step: Step) -> dict[str, int]:
    # The waiting run holds neither a slot nor a process. `wait_for` returns the payload of the signal, or None after the
    # time-out, so the signal must have a payload other than None.
    approval = await step.wait_for(f"approval:newsletter-{issue.number}", timeout="3d")
    if approval is None:
        step.bail("nobody approved it within three days")
    for index, address in enumerate(issue.subscribers):
        mail_id = f"{step.run_id}.{index}"
        await step.run(f"send-{index}", send, mail_id, address, f"News, issue {issue.number}", issue.text)
    return {"sent": len(issue.subscribers)}


def send(mail_id: str, address: str, subject: str, text: str) -> None:
    """Hand one mail to the SMTP server; returns once the server has accepted it."""
    mail = EmailMessage()
    mail["From"] = "The Shop <hello@shop.example>"
    mail["To"] = address
    mail["Subject"] = subject
    # If the worker dies after the server's "250 OK", the step runs again and sends the mail a second time. Mailboxes
    # recognise the duplicate by its Message-ID.
    mail["Message-ID"] = f"<{mail_id}@shop.example>"
    mail.set_content(text)
    host, port = os.environ.get("SMTP_HOST", "127.0.0.1"), int(os.environ.get("SMTP_PORT", "8025"))
    # Without `local_hostname`, smtplib looks up the name of this machine, which can take seconds.
    with smtplib.SMTP(host, port, local_hostname="shop.example", timeout=20) as server:
        server.send_message(mail)
