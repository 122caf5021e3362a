"""UniAVGen for ComfyUI: a talking person's video and voice, generated together."""

WEB_DIRECTORY = "./web"  # help pages of the nodes


async def comfy_entrypoint():
    """What ComfyUI calls to get the nodes. The host is imported here and nowhere before."""
    from .nodes import UniAVGenExtension

    return UniAVGenExtension()
