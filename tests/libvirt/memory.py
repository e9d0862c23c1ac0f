# SPDX-License-Identifier: GPL-2.0-or-later
"""XML of memory: cells, and what is plugged."""
from dimms import DIMM
from memslots import assert_bound

MAX = "<maxMemory slots='4' unit='GiB'>32</maxMemory>"
CELL = "<numa><cell id='0' cpus='0' memory='128' unit='MiB'/></numa>"
TWO_CELLS = '''
<numa>
  <cell id='0' cpus='0' memory='128' unit='MiB'/>
  <cell id='1' cpus='1' memory='128' unit='MiB'/>
</numa>'''
# The first cell on the second node of the host
NUMATUNE = '''
<numatune>
  <memory mode='strict' nodeset='0-1'/>
  <memnode cellid='0' mode='strict' nodeset='1'/>
  <memnode cellid='1' mode='strict' nodeset='0'/>
</numatune>'''
NEW_DIMM = f'''
<memory model='dimm'>
  <target><size unit='MiB'>{DIMM}</size><node>0</node></target>
</memory>'''
VIRTIO_MEM = '''
<memory model='virtio-mem'>
  <target>
    <size unit='MiB'>256</size>
    <node>0</node>
    <block unit='MiB'>2</block>
    <requested unit='MiB'>{requested}</requested>
  </target>
</memory>'''


def all_bound(domain):
    for block in domain.blocks():
        assert_bound(block)
