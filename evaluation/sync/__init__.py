"""How well lips and sound go together: SyncNet on a face that is followed through a clip.

Recording -> faces.follow (a face, cropped) + sound.mfcc -> network.SyncNet -> score.SyncScore
"""
