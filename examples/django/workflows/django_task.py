from tako_lite import BlockingStep, workflow
from tako_lite.ext.django import run_task


@workflow("django-task", worker="{queue}", retries=2)
def django_task(payload: dict, step: BlockingStep) -> object:
    return run_task(payload, step)
