from airflow.sdk import BaseOperatorLink
from mlops.links import LINKS, RunLink, ValidationLink, page_address, run_address, version_address
from mlops.operators.ingest import ValidateOperator
from mlops_plugin import PerennialPlugin


def test_every_link_has_a_name_and_a_place_of_its_own() -> None:
    links = [link() for link in LINKS]
    assert len({link.name for link in links}) == len({link.xcom_key for link in links}) == len(LINKS)
    assert all(isinstance(link, BaseOperatorLink) for link in links)


def test_a_link_is_the_address_that_its_operator_noted() -> None:
    operator = ValidateOperator(task_id="validate", extracted={})
    assert ValidationLink().get_link(operator, ti_key=None) == ""
    operator.addresses = {ValidationLink: "/there"}
    assert ValidationLink().get_link(operator, ti_key=None) == "/there"
    assert RunLink().get_link(operator, ti_key=None) == ""


def test_addresses_lead_to_pages_runs_and_versions() -> None:
    assert page_address("key", "report") == "/perennial/receipts/key/report"
    assert run_address("http://m", "1", "r") == "http://m/#/experiments/1/runs/r"
    assert version_address("http://m", "late", "3") == "http://m/#/models/late/versions/3"


def test_the_plugin_registers_all_links_and_the_pages() -> None:
    assert {type(link) for link in PerennialPlugin.operator_extra_links} == set(LINKS)
    assert PerennialPlugin.fastapi_apps[0]["url_prefix"] == "/perennial"
