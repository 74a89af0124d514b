"""Features of a flight, from what is known before departure.

`rows` maps each input to an array: numbers as float64 (missing: NaN), text as objects (missing:
None), timestamps as datetime64 in UTC. Return one array per feature; text becomes a category.
"""

import numpy as np

WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib")


def features(rows):
    local = rows["time_hour"] - np.timedelta64(5, "h")  # Eastern Standard Time
    return {
        "carrier": rows["carrier"],
        "origin": rows["origin"],
        "dest": rows["dest"],
        "distance": rows["distance"],
        "departure_hour": rows["sched_dep_time"] // 100,
        "arrival_hour": rows["sched_arr_time"] // 100 + rows["sched_arr_time"] % 100 / 60,
        "weekday": (local.astype("datetime64[D]").astype("int64") + 3) % 7,
        **{name: rows[name] for name in WEATHER},
    }
