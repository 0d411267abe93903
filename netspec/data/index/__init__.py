"""The index of a data set: walks folders and tar archives, and says which images there are and of which class."""
