from include.serving.app import create_app
from tests.serving.answering_server import AnsweringServer


def test_it_says_what_predictions_take_and_how_requests_are_refused(server: AnsweringServer) -> None:
    document = create_app(server.answering, server.models, server.log, server.metrics).openapi()
    for path, taken, given in (
        ("/models/{name}/invocations", "Invocation", "Predictions"),
        ("/v2/models/{name}/infer", "InferenceRequest", "InferenceReply"),
    ):
        post = document["paths"][path]["post"]
        found = [post["requestBody"], *(post["responses"][status] for status in ("200", "400", "429", "503"))]
        references = [each["content"]["application/json"]["schema"]["$ref"] for each in found]
        assert references == [f"#/components/schemas/{name}" for name in (taken, given, *["Error"] * 3)]
    forms = document["components"]["schemas"]["Invocation"]["properties"]
    assert list(forms) == ["dataframe_split", "dataframe_records", "inputs", "instances"]
