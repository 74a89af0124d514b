import numpy as np
import pandas as pd

from include.lifecycle.monitor.report import drift_report


def test_the_report_is_a_page_about_every_feature() -> None:
    draw = np.random.default_rng(1)
    features = pd.DataFrame(
        {"rain": draw.normal(size=300), "city": draw.choice(np.array(["BER", "MUC"], object), 300)}
    )
    page = drift_report(features, features.assign(rain=features["rain"] + 3), sample=200, seed=1).decode()
    assert "<html" in page.lower()
    assert "rain" in page
    assert "city" in page
