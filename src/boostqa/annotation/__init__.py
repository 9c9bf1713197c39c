"""Labels in bulk and how good they are: classifier, difficulty meter, item-response fit, evaluation against gold."""
