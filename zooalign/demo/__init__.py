"""``zooalign demo``: the whole way, on two small networks trained on the spot.

Two networks that average to nonsense become one that works: trained on scikit-learn's digits,
aligned, merged, checked, published to a hub on this machine and downloaded back.
"""

from zooalign.demo.report import DemoReport
from zooalign.demo.run import run_demo
from zooalign.release.settings import DemoSettings

__all__ = ["DemoReport", "DemoSettings", "run_demo"]
