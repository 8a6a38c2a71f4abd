"""One program a question: `python -m benchmarks.NAME`, all of them `make bench`. See docs/benchmarks.md."""
