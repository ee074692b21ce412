# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The reference parsers of prometheus_client: of OpenMetrics, and of the text format before it."""

from prometheus_client import Metric
from prometheus_client import parser as textformat
from prometheus_client.openmetrics import parser as openmetrics


def parse(text: str) -> "list[Metric]":
    """The families of `text`. Raises ValueError if that is not OpenMetrics."""
    return list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def parse_textfile(text: str) -> "list[Metric]":
    """The families as node_exporter reads them. Raises ValueError."""
    return list(textformat.text_string_to_metric_families(text))
