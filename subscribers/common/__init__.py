"""What rule and KPI subscribers share."""
