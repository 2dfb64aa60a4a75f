from typing import Any

from django.db import transaction
from django.http import Http404, HttpRequest, JsonResponse
from django.tasks import default_task_backend
from django.tasks.exceptions import TaskResultDoesNotExist
from django.views.decorators.csrf import csrf_exempt

from shop.models import Order
from shop.tasks import confirm


@csrf_exempt
@transaction.atomic
def order(request: HttpRequest) -> JsonResponse:
    made = Order.objects.create(email=request.POST["email"])
    result = confirm.enqueue(made.id)  # stored when the transaction commits, so the worker finds the order
    if "fail" in request.POST:
        raise RuntimeError("the transaction is rolled back, and the task with it")
    return JsonResponse({"task": result.id, "order": made.id}, status=202)


def show(request: HttpRequest, id: str) -> JsonResponse:
    try:
        result = default_task_backend.get_result(id)
    except TaskResultDoesNotExist as error:
        raise Http404 from error
    found: dict[str, Any] = {"state": result.status, "attempts": result.attempts}
    if result.is_finished:
        found["result"] = result.return_value
    return JsonResponse(found)
