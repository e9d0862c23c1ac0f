# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of a guest in an image: what the suites share."""
import os
import subprocess

from guest import BUILD, wait_until

IMG = os.path.join(BUILD, 'qemu-img')


def run_job(guest, command, **arguments):
    guest.cmd(command, **{'job-id': 'job', **arguments})

    def concluded():
        job, = guest.cmd('query-jobs')
        assert 'error' not in job, job
        return job['status'] == 'concluded'
    wait_until(concluded)
    guest.cmd('job-dismiss', id='job')


def new_image(folder):
    """Arguments for a disk that snapshots go to"""
    image = f'{folder}/image.qcow2'
    subprocess.run([IMG, 'create', '-q', '-f', 'qcow2', image, '1G'],
                   check=True)
    return ['-blockdev', 'qcow2,node-name=disk,file.driver=file,'
            f'file.filename={image}']
