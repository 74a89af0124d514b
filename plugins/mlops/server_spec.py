"""What is the model server in a cluster? Kubernetes objects as plain data, made of the profile alone.

One Deployment serves every model: a model more is no pod more, and all releases are one ConfigMap, which
is the one object that the pods may read. The pods' account and its rights are in `docker/manifests`,
since whoever may hand out rights has them.
"""

from __future__ import annotations

from typing import Any

from include.lifecycle.spec.profile import Kubernetes, ModelServer

SERVER, PODS, RELEASES = "model-server", "model-server-pods", "model-releases"
PORT = 8000
_ACCOUNT = "perennial-server"
_LABELS = {"app.kubernetes.io/name": SERVER}
_HOME = "/var/lib/perennial"
_PORT_MOUNT = {"name": "port", "mountPath": "/run/perennial"}
_LENT = "/run/perennial/port"
_DRAIN = 5
"""Seconds in which all nodes learn that a pod goes, while it still answers whoever comes."""
_END = 40
"""Seconds until a pod is killed: those, its last answers, and its predictions on their way to the store."""
_LOST = 30
"""Seconds after which the pods of a node that does not answer are made anew elsewhere."""
Object = dict[str, Any]


def server_objects(cluster: Kubernetes, server: ModelServer) -> list[Object]:
    """The objects in the order in which they are applied; their ConfigMap is written by releases.

    The Deployment says no number of replicas: that is the autoscaler's.
    """
    namespace = cluster.namespace
    return [
        _object("networking.k8s.io/v1", "NetworkPolicy", SERVER, namespace, _network(server)),
        _object("v1", "Service", SERVER, namespace, _service()),
        # Its name has the addresses of all pods: each of them counts for itself.
        _object("v1", "Service", PODS, namespace, {**_service(), "clusterIP": "None"}),
        _object("policy/v1", "PodDisruptionBudget", SERVER, namespace, _budget()),
        _object("apps/v1", "Deployment", SERVER, namespace, _deployment(namespace, server)),
        _object("autoscaling/v2", "HorizontalPodAutoscaler", SERVER, namespace, _autoscaler(server)),
    ]


def _object(version: str, kind: str, name: str, namespace: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": _LABELS}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _service() -> Object:
    return {"selector": _LABELS, "ports": [{"name": "http", **_tcp(PORT), "targetPort": "http"}]}


def _budget() -> Object:
    """One pod at a time is moved; one alone, too, or its node could not be drained."""
    return {"maxUnavailable": 1, "selector": {"matchLabels": _LABELS}}


def _autoscaler(server: ModelServer) -> Object:
    target = {"type": "Utilization", "averageUtilization": server.busy}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": SERVER},
        "minReplicas": server.replicas,
        "maxReplicas": server.max_replicas,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }


def _network(server: ModelServer) -> Object:
    dns = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    return {
        "podSelector": {"matchLabels": _LABELS},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [_tcp(PORT)]}],
        "egress": [
            {"to": [dns], "ports": [{"protocol": "UDP", "port": 53}, _tcp(53)]},
            {"ports": [_tcp(port) for port in server.ports]},
        ],
    }


def _tcp(port: int) -> Object:
    return {"protocol": "TCP", "port": port}


def _deployment(namespace: str, server: ModelServer) -> Object:
    return {
        "selector": {"matchLabels": _LABELS},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": _LABELS}, "spec": _pod(namespace, server)},
    }


def _pod(namespace: str, server: ModelServer) -> Object:
    log: Object = {"persistentVolumeClaim": {"claimName": server.claim}} if server.claim else {"emptyDir": {}}
    lost = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _LOST}
    return {
        "serviceAccountName": _ACCOUNT,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _END,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [{"key": f"node.kubernetes.io/{why}", **lost} for why in ("not-ready", "unreachable")],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _LABELS},
                "matchLabelKeys": ["pod-template-hash"],
            }
        ],
        "initContainers": [_keeper(server)],
        "containers": [_container(namespace, server)],
        "volumes": [
            {"name": "home", **log},
            *({"name": name, "emptyDir": {}} for name in ("scratch", "port")),
        ],
    }


def _keeper(server: ModelServer) -> Object:
    """A sidecar that keeps the port while the server's container is started again."""
    return {
        **_any_container("port", server),
        "restartPolicy": "Always",
        "command": ["python", "-m", "include.serving.holding", "--port", str(PORT), "--lend", _LENT],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "volumeMounts": [_PORT_MOUNT],
    }


def _container(namespace: str, server: ModelServer) -> Object:
    memory = str(int(server.memory))
    return {
        **_any_container("server", server),
        "args": ["--borrow", _LENT],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "env": _environment(namespace, server),
        "envFrom": [{"secretRef": {"name": name}} for name in server.secrets],
        "resources": {"requests": {"cpu": f"{server.cpu:g}", "memory": memory}, "limits": {"memory": memory}},
        "startupProbe": {**_probe("live"), "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {**_probe("ready"), "periodSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {**_probe("live"), "periodSeconds": 10, "failureThreshold": 6},
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN}}},
        "volumeMounts": [
            _PORT_MOUNT,
            {"name": "home", "mountPath": _HOME},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def _any_container(name: str, server: ModelServer) -> Object:
    return {
        "name": name,
        "image": server.image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _environment(namespace: str, server: ModelServer) -> list[Object]:
    shared = [{"name": "PERENNIAL_HOMES", "value": _HOME}] if server.claim else []
    return [
        *shared,
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "PERENNIAL_HOME", "value": f"{_HOME}/$(POD_NAME)"},
        {"name": "PERENNIAL_RELEASES", "value": f"configmap://{namespace}/{RELEASES}"},
    ]


def _probe(health: str) -> Object:
    return {"httpGet": {"path": f"/v2/health/{health}", "port": "http"}, "timeoutSeconds": 2}
