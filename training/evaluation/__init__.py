"""How good predictions are: the data sets' protocols, and errors of a crop model on any annotated pictures."""
