from django.tasks import task

from shop.models import Order


@task(queue_name="email")
def confirm(order_id: int) -> str:
    order = Order.objects.get(id=order_id)
    print(f"mail to {order.email}: your order {order.id}")  # stands for send_mail()
    order.confirmed = True
    order.save(update_fields=["confirmed"])
    return order.email
