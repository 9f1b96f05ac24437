METHOD=preload CAPS_OF=tcp CONFIG="relay: always"
. "$(dirname "${BASH_SOURCE[0]}")/steer-netns.sh"
HOW="steer run -m preload, relay: always: the shim connects to the engine; read+write, then splice"
