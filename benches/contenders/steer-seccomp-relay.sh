METHOD=seccomp CAPS_OF=tcp CONFIG="relay: always"
. "$(dirname "${BASH_SOURCE[0]}")/steer-netns.sh"
HOW="steer run -m seccomp, relay: always: the program's socket joined to the engine; read+write, then splice"
