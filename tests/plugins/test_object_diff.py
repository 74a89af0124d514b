from typing import Any

from mlops.object_diff import difference

FOUND: dict[str, Any] = {
    "kind": "Deployment",
    "metadata": {"name": "model-server", "resourceVersion": "1", "managedFields": [{"manager": "perennial"}]},
    "spec": {"containers": [{"name": "server", "image": "old", "args": ["--port", "8000"]}], "paused": True},
    "status": {"replicas": 3},
}


def test_each_line_says_what_goes_or_comes_and_where() -> None:
    container = {"name": "server", "image": "new", "args": ["--port"], "env": []}
    wanted = {**FOUND, "spec": {"containers": [{"name": "watcher"}, container], "paused": True}}
    assert difference(FOUND, wanted) == [
        '- spec.containers[server].args[1]: "8000"',
        "+ spec.containers[server].env: []",
        '- spec.containers[server].image: "old"',
        '+ spec.containers[server].image: "new"',
        '+ spec.containers[watcher].name: "watcher"',
    ]


def test_what_the_cluster_keeps_for_itself_is_no_difference() -> None:
    changed = {**FOUND["metadata"], "resourceVersion": "2", "managedFields": [], "generation": 2}
    assert difference(FOUND, {**FOUND, "metadata": changed, "status": {}}) == []


def test_of_what_is_not_there_all_is_new() -> None:
    assert difference(None, {"kind": "Service"}) == ['+ kind: "Service"']


def test_a_value_of_another_type_is_another_value() -> None:
    assert difference({"port": "1"}, {"port": 1}) == ['- port: "1"', "+ port: 1"]
