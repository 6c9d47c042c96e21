"""Metrics, tables, figures, reports. Stands alone: imports no other room."""
