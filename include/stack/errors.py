"""What can keep the stack from running, each with a message that says what to do.

StackError
 ├── HomeInUse           another stack runs on this home
 ├── PortTaken           a port fixed by the user is not free
 ├── BadAirflowSettings  airflow_settings.yaml is not what it should be
 ├── PreparationFailed   the databases could not be brought up to date
 ├── ComponentDied       one component ended, so all were stopped
 └── NotHealthy          something did not become healthy in time
"""


class StackError(Exception):
    """The stack cannot run; the message is meant for the person who started it."""


class HomeInUse(StackError):
    """Another stack runs on the same home."""


class PortTaken(StackError):
    """A port that the user has fixed is taken, or there is no free one."""


class BadAirflowSettings(StackError):
    """airflow_settings.yaml breaks its format; the message names file and key."""


class PreparationFailed(StackError):
    """The databases could not be brought up to date."""


class ComponentDied(StackError):
    """A component ended; the message names it and shows the end of its log."""


class NotHealthy(StackError):
    """A component did not become healthy in time."""
