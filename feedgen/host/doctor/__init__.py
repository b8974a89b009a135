"""`feedgen doctor`: is all well, and if not, what to do.

    finding.py   what a check says: a line for people, an object for programs
    machine.py   the computer: Python, packages, disk, memory, open files, systemd
    inside.py    our own parts: the data folder, the running service, how far behind it is
    network.py   the hosts that we listen to and ask, and what time they think it is
    outside.py   what the world sees under our public name, and what our account says of us
    command.py   which checks there are, and in which order

A check yields findings and never raises for what it looks at; it changes nothing, except that the disk's speed is
measured with a small file in the data folder.
"""
