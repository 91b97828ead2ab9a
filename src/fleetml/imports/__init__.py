"""Models from elsewhere: recognised by content, turned into ONE graph in a process of its own, proven equal, registered.

formats      what a file is, by its bytes; pickles are refused
archives     what may be in a torch.export or .keras file, both of which can hold code
sources      a module a format: the original, its answers, its graph
conversion   runs a source in a child process with limits; the child says what the original answers
samples      rows to ask both: given by the user, else drawn
equality     does the graph answer as the original did?
register     into the registry, the original beside the graph
"""
