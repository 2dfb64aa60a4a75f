import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_asgi_application()

from tako_lite.ext.django import with_dashboard  # noqa: E402  (after the settings are loaded)

application = with_dashboard(application, "/tako")
