// Runs before the first paint, so that a chosen theme does not flash: marks that scripts run, and restores the theme.
{
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const theme = localStorage.getItem("tako-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch {
    // storage is switched off: the theme of the system holds
  }
}
