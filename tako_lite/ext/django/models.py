"""The rights of the dashboard as permissions: `tako.retry`, `tako.cancel` and so on. There is no table."""

from __future__ import annotations

from django.db import models

from tako_lite.config.web_settings import RIGHTS


class Dashboard(models.Model):
    """What permissions belong to; it has no rows."""

    class Meta:
        app_label = "tako"
        managed = False
        default_permissions = ()
        permissions = tuple((right, f"Dashboard: {right.replace('_', ' ')}") for right in sorted(RIGHTS))
        verbose_name_plural = "dashboard"
