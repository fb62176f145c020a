"""Never started: tests play the nodes."""

from flwr.clientapp import ClientApp

app = ClientApp()
