"""The data sets that the paper measured on, as rows for the batch command, and the tables of the paper."""
