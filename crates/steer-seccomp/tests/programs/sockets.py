"""What a program sees of its sockets under supervision: each function is a case.

The engine behind it answers by the last byte of the address: see `supervised.rs`.
"""

import sys

# Nothing is left beside the sources.
sys.dont_write_bytecode = True

import connects
import others
import processes

if __name__ == "__main__":
    for module in (connects, processes, others):
        case = getattr(module, sys.argv[1], None)
        if case is not None and case.__module__ == module.__name__:
            case()
            break
    else:
        sys.exit("no such case: " + sys.argv[1])
