"""A user study: folders of clips -> a page that asks people -> their answers -> shares of votes."""
